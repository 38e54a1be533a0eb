# Stage 1 without a network: spikes from a user's file, one job per segment. The jobs are independent.


rule import_spikes:
    output:
        made=touch(below("recording/{key}/done/{segment}.made")),
        whole=touch(below("recording/{key}/done/{segment}.whole")),
    log:
        below("recording/{key}/logs/{segment}.log"),
    benchmark:
        below("recording/{key}/benchmarks/{segment}.tsv")
    group:
        together("recording")
    envmodules:
        *MODULES,
    threads: 1
    resources:
        **ask("recording"),
        turn=1,
    params:
        run=run_of("recording"),
    message:
        "recording: segment {wildcards.segment} of {params.run}"
    shell:
        "spikelens recording {params.run:q} --segments {wildcards.segment} --planned {wildcards.key} --log {log:q}"
