# Stage 3: one job a segment and block. A job reads the spikes of its own segment and a halo in its neighbours: the last 20 tau
# before (kernels). Nothing looks ahead: a run that grows keeps all its features.


def segments_around(run):
    """Segments that hold the spikes, and the state at the start, that a segment's features take."""
    segments = stamps(run, "simulation")
    return lambda wildcards: segments[max(int(wildcards.segment) - 1, 0) : int(wildcards.segment) + 1]


for run, job, of_rule in rules_of("features"):

    rule:
        name:
            rule_name(run, of_rule)
        input:
            network=f"{run.path}/{rule_job(run, 'network').stamp}",
            simulation=segments_around(run),
        output:
            below(run, job.files),
            stamp=touch(f"{run.path}/{job.stamp}"),
        log:
            f"{run.path}/{job.log}",
        benchmark:
            f"{run.path}/{job.benchmark}"
        wildcard_constraints:
            segment=segments_of(of_rule),
        group:
            together("features")
        envmodules:
            *run.cluster.modules,
        threads: 1
        resources:
            **asked(run, "features"),
            turn=1,
        params:
            run=run.path,
            fingerprint=fingerprint(run, "features"),
        message:
            "features: segment {wildcards.segment}, block {wildcards.block} of {params.run}"
        shell:
            "spikelens features {params.run:q} --segments {wildcards.segment} --blocks {wildcards.block} --planned {params.fingerprint} --log {log:q}"
