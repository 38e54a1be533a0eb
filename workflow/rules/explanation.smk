# Stage 5: attention, forecasts and reconstructions, scored against the wiring, with controls.

for run in RUNS:

    rule:
        name:
            rule_name("explanation", run)
        input:
            stored=stored_stamps(run),
            models=all_model_files(run, ["model.json"]),
        output:
            explanation_files(run),
        log:
            f"{run.path}/logs/explanation/explanation.log",
        benchmark:
            f"{run.path}/benchmarks/explanation/explanation.tsv"
        group:
            together("outcome")
        envmodules:
            *run.cluster.modules,
        threads: 1
        resources:
            **asked(run, "explanation"),
        params:
            run=run.path,
            fingerprint=fingerprint(run, "explanation"),
        message:
            "explanation: {params.run}"
        shell:
            "OMP_NUM_THREADS={threads} spikelens explain {params.run:q} --log {log:q}"
