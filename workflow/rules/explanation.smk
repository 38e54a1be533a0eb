# Stage 5: each method scores pairs of neurons; then all scores are compared with the wiring, with controls.


rule infer:
    input:
        ancient(made("explanation")),
    output:
        made=touch(below("explanation/{item}/{key}/done/method.made")),
        whole=touch(below("explanation/{item}/{key}/done/method.whole")),
    log:
        below("explanation/{item}/{key}/logs/method.log"),
    benchmark:
        below("explanation/{item}/{key}/benchmarks/method.tsv")
    envmodules:
        *MODULES,
    threads: 1
    resources:
        **ask("explanation"),
    params:
        run=run_of("explanation"),
    message:
        "explanation: {wildcards.item} of {params.run}"
    shell:
        "OMP_NUM_THREADS={threads} spikelens infer {params.run:q} --method {wildcards.item} --planned {wildcards.key} --log {log:q}"


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
