"""One file a task: scene, stages, success, deadline, plan of keyframes."""
