# Stage 2: one job a segment, on MPI ranks; segment k starts from the state at the end of segment k-1.
# That state is `ancient`: results are deterministic, so that a segment made again leaves the later ones as they are.


def segment_before(run):
    segments = stamps(run, "simulation")
    return lambda wildcards: segments[int(wildcards.segment) - 1] if wildcards.segment != "0" else []


for run, job, of_rule in rules_of("simulation"):

    rule:
        name:
            rule_name(run, of_rule)
        input:
            network=stamps(run, "network"),
            events=run.drive.events or [],
            state=ancient(segment_before(run)),
        output:
            below(run, job.files),
            stamp=touch(f"{run.path}/{job.stamp}"),
        log:
            f"{run.path}/{job.log}",
        benchmark:
            f"{run.path}/{job.benchmark}"
        wildcard_constraints:
            segment=segments_of(of_rule),
        envmodules:
            *run.cluster.modules,
        threads: run.simulation.ranks
        resources:
            **asked(run, "simulation"),
        params:
            run=run.path,
            fingerprint=fingerprint(run, "simulation"),
        message:
            "simulation: segment {wildcards.segment} of {params.run} on {resources.tasks} ranks"
        shell:
            LAUNCH
            + " spikelens simulate {params.run:q} --segments {wildcards.segment} --planned {params.fingerprint} --log {log:q} "
            + RANKS
            + " "
            + LIMIT
