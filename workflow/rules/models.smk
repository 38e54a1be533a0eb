# Stage 4: one job a model and seed, on MPI ranks where models.<name>.ranks is more than 1. A checkpoint that a killed job has left beside
# its outputs is none of them: snakemake would delete it.


def read_by_model(wildcards):
    run, work = owner("models", wildcards)
    return [flag for read in run.models[work.item].reads(run) for flag in flags(run.path, read.stage)]


rule train:
    input:
        ancient(read_by_model),
    output:
        made=touch(below("models/{model}/{key}/done/{seed}.made")),
        whole=touch(below("models/{model}/{key}/done/{seed}.whole")),
    log:
        below("models/{model}/{key}/logs/{seed}.log"),
    benchmark:
        below("models/{model}/{key}/benchmarks/{seed}.tsv")
    envmodules:
        *MODULES,
    threads: lambda wildcards: asked(owner("models", wildcards)[1].folder, 1)["tasks"]
    resources:
        **ask("models"),
    params:
        run=run_of("models"),
    message:
        "models: {wildcards.model}, seed {wildcards.seed}, of {params.run}"
    shell:
        "export OMP_NUM_THREADS=1; " + LAUNCH + " spikelens train {params.run:q} --model {wildcards.model} --seed {wildcards.seed}"
        " --planned {wildcards.key} --log {log:q} " + RANKS + " " + LIMIT
