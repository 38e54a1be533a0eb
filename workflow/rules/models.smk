# Stage 4: one job a model and seed, on MPI ranks where models.<name>.ranks is more than 1. A checkpoint that a killed job has left beside
# its outputs is none of them: snakemake would delete it.


for run, job, of_rule in rules_of("models"):
    model = job.rule.removeprefix("models_")

    rule:
        name:
            rule_name(run, job)
        input:
            ancient(made(run, "simulation" if model == "autoencoder" else "features")),
        output:
            made=touch(below(run, job.made)),
            whole=touch(below(run, job.whole)),
        log:
            below(run, job.log),
        benchmark:
            below(run, job.benchmark)
        envmodules:
            *run.cluster.modules,
        threads: n_ranks(run, job.rule)
        resources:
            **asked(run, job.rule),
        params:
            run=doer,
            model=model,
            fingerprint=model_fingerprint(run, model),
        message:
            "models: {params.model}, seed {wildcards.seed}, of {params.run}"
        shell:
            "export OMP_NUM_THREADS=1; " + LAUNCH + " spikelens train {params.run:q} --model {params.model} --seed {wildcards.seed}"
            " --planned {params.fingerprint} --log {log:q} " + RANKS + " " + LIMIT
