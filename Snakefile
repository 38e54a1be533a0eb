# Six stages, one rule file each: network -> simulation -> features -> models -> explanation -> report. The
# configuration is checked first. `rule all` requests, for every job, the flag that all of its files exist.
# `snakemake simulation`, or another stage, runs the jobs of that stage and those that they depend on.


include: "workflow/rules/common.smk"
include: "workflow/rules/network.smk"
include: "workflow/rules/simulation.smk"
include: "workflow/rules/recording.smk"
include: "workflow/rules/features.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/explanation.smk"
include: "workflow/rules/report.smk"


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        whole(*STAGES),
    message:
        "complete: " + ", ".join(run.path for run in RUNS)


for stage in STAGES:

    rule:
        name:
            stage
        input:
            whole(stage),
        message:
            f"complete: {stage} of " + ", ".join(run.path for run in RUNS)
