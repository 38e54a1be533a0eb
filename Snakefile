# Six stages, one rule file each: network -> simulation -> features -> models -> explanation -> report.
# Here: the configuration is checked before anything else happens, and `rule all` lists every file of every run, so that a lost
# shard, or a lost state, brings the jobs back that make it.


include: "workflow/rules/common.smk"
include: "workflow/rules/network.smk"
include: "workflow/rules/simulation.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/explanation.smk"
include: "workflow/rules/report.smk"


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        [path for run in RUNS for path in every_file(run)],
    message:
        "complete: " + ", ".join(run.path for run in RUNS)
