"""The whole chain, small: what to say to ``workbench quickstart`` so that it ends in a minute."""

SMALL = [
    "perturbation=[slip,action_noise,object_shift,object_pose_bias]",
    "score.rnd.epochs=20",
    "monitor.level=0.2",
    'job.stages.collect.runs=[["job=collect","job.episodes=30"]]',
    'job.stages.train.runs=[["job=train","job.trainer.iterations=250"]]',
    'job.stages.rollout.runs=[["job=rollout","perturbation=[]","job.episodes.fit=15","job.episodes.calibrate=30",'
    '"job.episodes.test=8"],["job=rollout","job.one_each=true","job.episodes.fit=2","job.episodes.test=3"]]',
    'job.stages.label.runs=[["job=label","job.branches=[4]","job.stride=50"]]',
    'job.stages.recover.runs=[["job=recover","job.trainer.iterations=40","job.moments=1","job.allowance_steps=40"]]',
]
