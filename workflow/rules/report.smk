# Stage 6: figures, the HTML page, summary.json.

from spikelens.report.contents import COPIES


def embedded(file, caption):
    """A file embedded in snakemake's own report; for a sweep, one per run."""
    labels = {"file": os.path.basename(file)} | ({} if len(RUNS) == 1 else {"key": "{key}"})
    return report(below(f"report/{{key}}/{file}"), caption=f"../report/{caption}", category="report", labels=labels)


rule make_report:
    input:
        ancient(made("report")),
    output:
        *map(embedded, COPIES, ("page.rst", "summary.rst")),
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
