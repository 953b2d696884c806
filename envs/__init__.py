"""What the world does: scenes, tasks, the compiled stepper and perturbations."""

if __name__ != "workbench.envs":
    raise ImportError("import workbench.envs; the folder envs/ is not a top-level package")

import importlib
import os
import sys

if os.environ.get("MUJOCO_GL") and "mujoco" not in sys.modules:
    try:
        importlib.import_module("mujoco")
    except Exception:  # it loads the GL library that this names, which may not be there: only images need one
        asked, os.environ["MUJOCO_GL"] = os.environ["MUJOCO_GL"], "off"
        importlib.import_module("mujoco")
        os.environ["MUJOCO_GL"] = asked
