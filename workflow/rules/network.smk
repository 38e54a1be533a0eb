# Stage 1: the synapses, one job per block. Jobs do not depend on each other.


rule build_network:
    output:
        made=touch(below("network/{key}/done/{block}.made")),
        whole=touch(below("network/{key}/done/{block}.whole")),
    log:
        below("network/{key}/logs/{block}.log"),
    benchmark:
        below("network/{key}/benchmarks/{block}.tsv")
    group:
        together("network")
    envmodules:
        *MODULES,
    threads: 1
    resources:
        **ask("network"),
        turn=1,
    params:
        run=run_of("network"),
    message:
        "network: block {wildcards.block} of {params.run}"
    shell:
        "spikelens network {params.run:q} --blocks {wildcards.block} --planned {wildcards.key} --log {log:q}"
