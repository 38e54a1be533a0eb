# Stage 4: one job a model and seed.

for run in RUNS:
    for model in MODEL_NAMES:

        rule:
            name:
                rule_name(f"models_{model}", run)
            input:
                simulation_stamps(run) if model == "autoencoder" else feature_stamps(run),
            output:
                model_files(run, model, "{seed}"),
            log:
                f"{run.path}/logs/models/{model}-{{seed}}.log",
            benchmark:
                f"{run.path}/benchmarks/models/{model}-{{seed}}.tsv"
            threads: 1
            resources:
                mem_mb=memory_mb(run, f"models_{model}"),
            params:
                run=run.path,
                model=model,
                fingerprint=model_fingerprint(run, model),
            message:
                "models: {params.model}, seed {wildcards.seed}, of {params.run}"
            shell:
                "OMP_NUM_THREADS={threads} spikelens train {params.run:q} --model {params.model} --seed {wildcards.seed} --log {log:q}"
