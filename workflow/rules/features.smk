# Stage 3: one job a segment and block. A job reads the spikes of its own segment and a halo in its neighbours: the last 20 tau
# before (kernels). Nothing looks ahead: a run that grows keeps all its features.


def segments_around(wildcards):
    """Segments that hold the spikes, and the state at the start, that a segment's features take."""
    run, _ = owner("features", wildcards)
    segment = int(wildcards.segment)
    return flags(run.path, "simulation")[max(segment - 1, 0) : segment + 1]


def of_block(wildcards):
    run, _ = owner("features", wildcards)
    return flags(run.path, "network")[int(wildcards.block)]


rule compute_features:
    input:
        network=ancient(of_block),
        simulation=ancient(segments_around),
    output:
        made=touch(below("features/{key}/done/{segment}-{block}.made")),
        whole=touch(below("features/{key}/done/{segment}-{block}.whole")),
    log:
        below("features/{key}/logs/{segment}-{block}.log"),
    benchmark:
        below("features/{key}/benchmarks/{segment}-{block}.tsv")
    group:
        together("features")
    envmodules:
        *MODULES,
    threads: 1
    resources:
        **ask("features"),
        turn=1,
    params:
        run=run_of("features"),
    message:
        "features: segment {wildcards.segment}, block {wildcards.block} of {params.run}"
    shell:
        "spikelens features {params.run:q} --segments {wildcards.segment} --blocks {wildcards.block} --planned {wildcards.key} --log {log:q}"
