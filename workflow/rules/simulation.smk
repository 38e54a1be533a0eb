# Stage 2: one job per segment, on MPI ranks; segment k starts from the final state of segment k-1. All inputs
# are `ancient`: results are deterministic, so that later segments remain valid if a segment is run again.


def segment_before(wildcards):
    run, _ = owner("simulation", wildcards)
    return flags(run.path, "simulation")[int(wildcards.segment) - 1] if wildcards.segment != "0" else []


rule simulate:
    input:
        network=ancient(made("simulation")),
        state=ancient(segment_before),
    output:
        made=touch(below("simulation/{key}/done/{segment}.made")),
        whole=touch(below("simulation/{key}/done/{segment}.whole")),
    log:
        below("simulation/{key}/logs/{segment}.log"),
    benchmark:
        below("simulation/{key}/benchmarks/{segment}.tsv")
    envmodules:
        *MODULES,
    threads: lambda wildcards: owner("simulation", wildcards)[0].simulation.ranks
    resources:
        **ask("simulation"),
    params:
        run=run_of("simulation"),
    message:
        "simulation: segment {wildcards.segment} of {params.run} on {resources.tasks} ranks"
    shell:
        LAUNCH
        + " spikelens simulate {params.run:q} --segments {wildcards.segment} --planned {wildcards.key} --log {log:q} "
        + RANKS
        + " "
        + LIMIT
