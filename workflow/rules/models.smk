# Stage 4: one job a model and seed, on MPI ranks where models.<name>.ranks is more than 1. A checkpoint that a killed job has left beside
# its outputs is none of them: snakemake would delete it.


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
            envmodules:
                *run.cluster.modules,
            threads: n_ranks(run, f"models_{model}")
            resources:
                **asked(run, f"models_{model}"),
            params:
                run=run.path,
                model=model,
                fingerprint=model_fingerprint(run, model),
            message:
                "models: {params.model}, seed {wildcards.seed}, of {params.run}"
            shell:
                "export OMP_NUM_THREADS=1; " + LAUNCH + " spikelens train {params.run:q} --model {params.model} --seed {wildcards.seed}"
                " --log {log:q} " + RANKS + " " + LIMIT
