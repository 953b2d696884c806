"""The model is taken out of robosuite on machines without a GL library too."""

from __future__ import annotations

import subprocess
import sys

WITHOUT_OPENCV = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file")

sys.meta_path.insert(0, Refuse())
from workbench.envs.robots.robosuite import make_environment

environment = make_environment("Lift", "Panda", 20)
print(environment.action_dim, "cv2" in sys.modules)
"""


def test_robosuite_is_imported_where_opencv_cannot_be():
    done = subprocess.run([sys.executable, "-c", WITHOUT_OPENCV], capture_output=True, text=True)
    assert done.stdout.split()[-2:] == ["7", "False"], done.stderr[-2000:]
