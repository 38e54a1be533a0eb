# Stage 2: one job a segment, on MPI ranks; segment k starts from the state at the end of segment k-1.
# Every input is `ancient`: results are deterministic, so that a segment made again leaves the later ones as they are.


def segment_before(run):
    segments = made(run, "simulation")
    return lambda wildcards: segments[int(wildcards.segment) - 1] if wildcards.segment != "0" else []


for run, job, of_rule in rules_of("simulation"):

    rule:
        name:
            rule_name(run, job)
        input:
            network=ancient(made(run, "network")),
            state=ancient(segment_before(run)),
        output:
            made=touch(below(run, job.made)),
            whole=touch(below(run, job.whole)),
        log:
            below(run, job.log),
        benchmark:
            below(run, job.benchmark)
        envmodules:
            *run.cluster.modules,
        threads: run.simulation.ranks
        resources:
            **asked(run, "simulation"),
        params:
            run=doer,
            fingerprint=fingerprint(run, "simulation"),
        message:
            "simulation: segment {wildcards.segment} of {params.run} on {resources.tasks} ranks"
        shell:
            LAUNCH
            + " spikelens simulate {params.run:q} --segments {wildcards.segment} --planned {params.fingerprint} --log {log:q} "
            + RANKS
            + " "
            + LIMIT
