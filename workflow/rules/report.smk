# Stage 6: figures, tables, summary.json. `spikelens html` (snakemake --report) then makes the one file to look at.

from spikelens.report.contents import FIGURES, SUMMARY


def shown_item(run, folder, item):
    """An item of the report, with its caption, in its stage's section."""
    labels = {"item": item.name.replace("_", " ")} if len(RUNS) == 1 else {"item": item.name.replace("_", " "), "run": run.folder.name}
    return report(below(run, f"{folder}/{item.file}"), caption=f"../report/{item.caption}", category=item.category, labels=labels)


for run, job, of_rule in rules_of("report"):

    rule:
        name:
            rule_name(run, job)
        input:
            ancient(made(run, "network", "simulation", "features", "models", "explanation")),
        output:
            [shown_item(run, job.folder, item) for item in FIGURES],
            below(run, f"{job.folder}/{SUMMARY}"),
            made=touch(below(run, job.made)),
            whole=touch(below(run, job.whole)),
        log:
            below(run, job.log),
        benchmark:
            below(run, job.benchmark)
        group:
            together("outcome")
        envmodules:
            *run.cluster.modules,
        threads: 1
        resources:
            **asked(run, "report"),
        params:
            run=doer,
            fingerprint=fingerprint(run, "report"),
        message:
            "report: {params.run}"
        shell:
            "spikelens report {params.run:q} --planned {params.fingerprint} --log {log:q}"
