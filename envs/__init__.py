"""What the world does: scenes, tasks, the compiled stepper and perturbations."""

if __name__ != "workbench.envs":
    raise ImportError("import workbench.envs; the folder envs/ is not a top-level package")
