# Stage 5: attention, forecasts and reconstructions, scored against the wiring, with controls.


rule explain:
    input:
        ancient(made("explanation", "network", "simulation", "features", "models")),
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
