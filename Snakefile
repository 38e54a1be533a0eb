# Six stages, one rule file each: network -> simulation -> features -> models -> explanation -> report.
# Here: the configuration is checked before anything else happens, and `rule all` asks for the flag of every job that all its files are
# there. `snakemake simulation`, or another stage, does the jobs of that stage and those that they need.


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
