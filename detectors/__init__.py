"""What says that it is going wrong: scores, windows and calibrators."""

if __name__ != "workbench.detectors":
    raise ImportError("import workbench.detectors; the folder detectors/ is not a top-level package")
