"""What the robot wants: experts, learned policies and recovery strategies."""

if __name__ != "workbench.policies":
    raise ImportError("import workbench.policies; the folder policies/ is not a top-level package")
