# Stage 3: one job a segment and block. A job reads the spikes of its own segment and a halo in its neighbours: the last 20 tau
# before (kernels) and the first T_w after (rates look ahead). So when a run grows, only the former last segment is made again.


def segments_around(run):
    """Segments that hold the spikes, and the state at the start, that a segment's features take."""
    stamps = simulation_stamps(run)
    return lambda wildcards: stamps[max(int(wildcards.segment) - 1, 0) : int(wildcards.segment) + 2]


for run in RUNS:
    for stamps, segments in segments_by_stamp(run, "features").items():

        rule:
            name:
                rule_name("features", run, stamps)
            input:
                network=f"{stores.stamp_folder(run, 'network')}/{{block}}",
                simulation=segments_around(run),
            output:
                feature_patterns(run),
                stamp=touch(f"{stamps}/{{segment}}-{{block}}"),
            log:
                f"{run.path}/logs/features/{{segment}}-{{block}}.log",
            benchmark:
                f"{run.path}/benchmarks/features/{{segment}}-{{block}}.tsv"
            wildcard_constraints:
                segment=one_of(segments),
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
                stamps=stamps,
            message:
                "features: segment {wildcards.segment}, block {wildcards.block} of {params.run}"
            shell:
                "spikelens features {params.run:q} --segments {wildcards.segment} --blocks {wildcards.block} --log {log:q}"
