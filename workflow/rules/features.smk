# Stage 3: one job a segment and block. A job reads the spikes of its own segment and a halo in its neighbours: the last 20 tau
# before (kernels). Nothing looks ahead: a run that grows keeps all its features.


def segments_around(run):
    """Segments that hold the spikes, and the state at the start, that a segment's features take."""
    segments = made(run, "simulation")
    return lambda wildcards: segments[max(int(wildcards.segment) - 1, 0) : int(wildcards.segment) + 1]


def of_block(run):
    blocks = made(run, "network")
    return lambda wildcards: blocks[int(wildcards.block)]


for run, job, of_rule in rules_of("features"):

    rule:
        name:
            rule_name(run, job)
        input:
            network=ancient(of_block(run)),
            simulation=ancient(segments_around(run)),
        output:
            made=touch(below(run, job.made)),
            whole=touch(below(run, job.whole)),
        log:
            below(run, job.log),
        benchmark:
            below(run, job.benchmark)
        group:
            together("features")
        envmodules:
            *run.cluster.modules,
        threads: 1
        resources:
            **asked(run, "features"),
            turn=1,
        params:
            run=doer,
            fingerprint=fingerprint(run, "features"),
        message:
            "features: segment {wildcards.segment}, block {wildcards.block} of {params.run}"
        shell:
            "spikelens features {params.run:q} --segments {wildcards.segment} --blocks {wildcards.block} --planned {params.fingerprint} --log {log:q}"
