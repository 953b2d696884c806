"""The nouns of the workbench as types, and the contracts between its folders.

Axes, one alphabet everywhere: N scenes or episodes, T control steps, C policy calls, B samples, H horizon, A action,
D embedding, K branches, S integration state, M memory.  Arrays are numpy; units are SI and stand in the name.

Time of one episode (deadline T, ``execute`` = 4 of a horizon of 8)::

    control step   0   1   2   3   4   5   6   7   8  ...  T-1
    policy call    c0              c1              c2
    chunk of c0    a0  a1  a2  a3 (a4  a5  a6  a7)            the bracketed ones are never run
    chunk of c1                    a0  a1  a2  a3 (a4 ...)    they overlap: consistency scores compare these
    row t of the store: observation and state *before* action t; reward, stage and predicates *after* it
"""

from workbench.types.abilities import (
    HasActionGroups,
    HasCameras,
    HasDemonstrationNoise,
    HasGoals,
    HasImages,
    HasPlan,
    HasRobot,
    HasShapes,
    HasStages,
    HasStiffness,
    HasTrails,
    ability,
)
from workbench.types.data import Array, Observation, Record
from workbench.types.detector import (
    FURTHEST,
    AdaptiveThreshold,
    Calibrator,
    RateLaw,
    Score,
    Scorer,
    SupervisedScore,
    Threshold,
)
from workbench.types.episode import (
    ABORTED,
    COLUMNS,
    EPISODE_COLUMNS,
    LABELS,
    MODES,
    Column,
    Episode,
    EpisodeCalls,
    EpisodeTruth,
    Subscriber,
    new_record,
)
from workbench.types.policy import (
    OBSERVATION,
    RECENT,
    SIGNALS,
    Demonstration,
    Policy,
    PolicyCall,
    PolicyOutput,
    Steering,
)
from workbench.types.random import EPISODES_PER_SPLIT, MOST_SEED, SPLITS, Split, Stream, episode_index, split_of
from workbench.types.ranges import Count, Episodes, Inside, Positive, Seconds, Seed, Share
from workbench.types.recovery import OVER, STEP, Alarm, FollowsCalls, Intervention, Lessons, Strategy, Successes, follow
from workbench.types.robot import Arm, Fingers, Robot
from workbench.types.scene import ROLES, Keyframe, Perturbation, Scene, Shape, Snapshot, Task, Truth
from workbench.types.shield import JudgesPlans, Moment, Note, Passed, PlanJudge, Shield

__all__ = [
    "ABORTED",
    "COLUMNS",
    "EPISODES_PER_SPLIT",
    "EPISODE_COLUMNS",
    "FURTHEST",
    "LABELS",
    "MODES",
    "MOST_SEED",
    "OBSERVATION",
    "OVER",
    "RECENT",
    "ROLES",
    "SIGNALS",
    "SPLITS",
    "STEP",
    "AdaptiveThreshold",
    "Alarm",
    "Arm",
    "Array",
    "Calibrator",
    "Column",
    "Count",
    "Demonstration",
    "Episode",
    "EpisodeCalls",
    "EpisodeTruth",
    "Episodes",
    "Fingers",
    "FollowsCalls",
    "HasActionGroups",
    "HasCameras",
    "HasDemonstrationNoise",
    "HasGoals",
    "HasImages",
    "HasPlan",
    "HasRobot",
    "HasShapes",
    "HasStages",
    "HasStiffness",
    "HasTrails",
    "Inside",
    "Intervention",
    "JudgesPlans",
    "Keyframe",
    "Lessons",
    "Moment",
    "Note",
    "Observation",
    "Passed",
    "Perturbation",
    "PlanJudge",
    "Policy",
    "PolicyCall",
    "PolicyOutput",
    "Positive",
    "RateLaw",
    "Record",
    "Robot",
    "Scene",
    "Score",
    "Scorer",
    "Seconds",
    "Seed",
    "Shape",
    "Share",
    "Shield",
    "Snapshot",
    "Split",
    "Steering",
    "Strategy",
    "Stream",
    "Subscriber",
    "Successes",
    "SupervisedScore",
    "Task",
    "Threshold",
    "Truth",
    "ability",
    "episode_index",
    "follow",
    "new_record",
    "split_of",
]
