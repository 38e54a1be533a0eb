# Stage 5: each method scores pairs of neurons, in one job or in one per block of targets; then all scores are compared with the
# wiring, with controls.


rule infer:
    input:
        ancient(made("explanation")),
    output:
        made=touch(below("explanation/{item}/{key}/done/{part}.made")),
        whole=touch(below("explanation/{item}/{key}/done/{part}.whole")),
    log:
        below("explanation/{item}/{key}/logs/{part}.log"),
    benchmark:
        below("explanation/{item}/{key}/benchmarks/{part}.tsv")
    envmodules:
        *MODULES,
    threads: 1
    resources:
        **ask("explanation"),
    params:
        run=run_of("explanation"),
    message:
        "explanation: {wildcards.item}, {wildcards.part}, of {params.run}"
    shell:
        "OMP_NUM_THREADS={threads} spikelens infer {params.run:q} --method {wildcards.item} --part {wildcards.part}"
        " --planned {wildcards.key} --log {log:q}"


rule explain:
    input:
        ancient(made("explanation")),
    output:
        made=touch(below("explanation/{key}/done/explanation.made")),
        whole=touch(below("explanation/{key}/done/explanation.whole")),
    log:
        below("explanation/{key}/logs/explanation.log"),
    benchmark:
        below("explanation/{key}/benchmarks/explanation.tsv")
    group:
        together("outcome")
    envmodules:
        *MODULES,
    threads: 1
    resources:
        **ask("explanation"),
    params:
        run=run_of("explanation"),
    message:
        "explanation: {params.run}"
    shell:
        "OMP_NUM_THREADS={threads} spikelens explain {params.run:q} --planned {wildcards.key} --log {log:q}"
