# Stage 6: figures, tables, summary.json. `spikelens html` (snakemake --report) then makes the one file to look at.

from spikelens.report.contents import FIGURES, SUMMARY


def shown_item(item):
    """An item of the report, with its caption, in its stage's section."""
    labels = {"item": item.name.replace("_", " ")}
    if len(RUNS) > 1:
        labels["run"] = lambda wildcards: owner("report", wildcards)[0].folder.name
    return report(below(f"report/{{key}}/{item.file}"), caption=f"../report/{item.caption}", category=item.category, labels=labels)


rule make_report:
    input:
        ancient(made("report", "network", "simulation", "features", "models", "explanation")),
    output:
        [shown_item(item) for item in FIGURES],
        below(f"report/{{key}}/{SUMMARY}"),
        made=touch(below("report/{key}/done/report.made")),
        whole=touch(below("report/{key}/done/report.whole")),
    log:
        below("report/{key}/logs/report.log"),
    benchmark:
        below("report/{key}/benchmarks/report.tsv")
    group:
        together("outcome")
    envmodules:
        *MODULES,
    threads: 1
    resources:
        **ask("report"),
    params:
        run=run_of("report"),
    message:
        "report: {params.run}"
    shell:
        "spikelens report {params.run:q} --planned {wildcards.key} --log {log:q}"
