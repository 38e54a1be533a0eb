# Stage 2: one job a segment, on MPI ranks; segment k starts from the state at the end of segment k-1.
# That state is `ancient`: results are deterministic, so that a segment made again leaves the later ones as they are.


def segment_before(run):
    stamps = simulation_stamps(run)
    return lambda wildcards: stamps[int(wildcards.segment) - 1] if wildcards.segment != "0" else []


for run in RUNS:
    for stamps, segments in segments_by_stamp(run, "simulation").items():

        rule:
            name:
                rule_name("simulation", run, stamps)
            input:
                network=network_stamps(run),
                events=run.drive.events or [],
                state=ancient(segment_before(run)),
            output:
                fill(simulation_patterns(run), ["{segment}"], range(run.n_blocks)),
                stamp=touch(f"{stamps}/{{segment}}"),
            log:
                f"{run.path}/logs/simulation/{{segment}}.log",
            benchmark:
                f"{run.path}/benchmarks/simulation/{{segment}}.tsv"
            wildcard_constraints:
                segment=one_of(segments),
            envmodules:
                *run.cluster.modules,
            threads: run.simulation.ranks
            resources:
                **asked(run, "simulation"),
            params:
                run=run.path,
                fingerprint=fingerprint(run, "simulation"),
                stamps=stamps,
            message:
                "simulation: segment {wildcards.segment} of {params.run} on {resources.tasks} ranks"
            shell:
                LAUNCH + " spikelens simulate {params.run:q} --segments {wildcards.segment} --log {log:q} " + RANKS + " " + LIMIT
