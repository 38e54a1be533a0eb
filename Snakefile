# Six stages, one rule file each: network -> simulation -> features -> models -> explanation -> report.
# Here: the configuration is checked before anything else happens, and `rule all` asks for what every job of every run leaves, and
# for each shard that was lost, so that it brings the job back that makes it.


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
        lambda wildcards: [path for run in RUNS for path in below(run, jobs.wanted_files(run))],
    message:
        "complete: " + ", ".join(run.path for run in RUNS)
