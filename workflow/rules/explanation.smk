# Stage 5: attention, forecasts and reconstructions, scored against the wiring, with controls.

for run in RUNS:

    rule:
        name:
            rule_name("explanation", run)
        input:
            network=fill(network_patterns(run), (), range(run.n_blocks)),
            simulation=fill(simulation_patterns(run), range(run.n_segments), range(run.n_blocks)),
            features=fill(feature_patterns(run), range(run.n_segments), range(run.n_blocks)),
            models=all_model_files(run),
        output:
            explanation_files(run),
        log:
            f"{run.path}/logs/explanation/explanation.log",
        benchmark:
            f"{run.path}/benchmarks/explanation/explanation.tsv"
        threads: 1
        resources:
            mem_mb=memory_mb(run, "explanation"),
        params:
            run=run.path,
            fingerprint=fingerprint(run, "explanation"),
        message:
            "explanation: {params.run}"
        shell:
            "OMP_NUM_THREADS={threads} spikelens explain {params.run:q} --log {log:q}"
