# Stage 4: one job per model and seed, on MPI ranks if models.<name>.ranks is more than 1. The checkpoint is
# not declared as an output, because snakemake deletes the outputs of a killed job.


rule train:
    input:
        ancient(made("models")),
    output:
        made=touch(below("models/{item}/{key}/done/{seed}.made")),
        whole=touch(below("models/{item}/{key}/done/{seed}.whole")),
    log:
        below("models/{item}/{key}/logs/{seed}.log"),
    benchmark:
        below("models/{item}/{key}/benchmarks/{seed}.tsv")
    envmodules:
        *MODULES,
    threads: lambda wildcards: asked(owner("models", wildcards)[1].folder, 1)["tasks"]
    resources:
        **ask("models"),
    params:
        run=run_of("models"),
    message:
        "models: {wildcards.item}, seed {wildcards.seed}, of {params.run}"
    shell:
        "export OMP_NUM_THREADS=1; " + LAUNCH + " spikelens train {params.run:q} --model {wildcards.item} --seed {wildcards.seed}"
        " --planned {wildcards.key} --log {log:q} " + RANKS + " " + LIMIT
