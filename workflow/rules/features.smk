# Stage 3: one job per feature, segment and group of blocks, named after the first block. A job reads the spikes of its own segment and
# of the one before, where kernels reach back. Nothing looks ahead: a run that grows keeps all its features.


def read_by_feature(wildcards):
    """Flags of a job's inputs: spikes of two segments; network and other features of its own blocks only."""
    run, work = owner("features", wildcards)
    segment, block, per_job = int(wildcards.segment), int(wildcards.block), blocks_per_job(run)
    found = []
    for read in reads_of(run, "features", work.item):
        of_read = flags(run.path, *read)
        if read.stage == "network":
            found += of_read[block : block + per_job]
        elif read.stage == run.spikes_stage:
            found += of_read[max(segment - 1, 0) : segment + 1]
        elif read.stage == "features":
            found.append(of_read[segment * -(-run.n_blocks // per_job) + block // per_job])
        else:
            found += of_read
    return found


rule compute_features:
    input:
        ancient(read_by_feature),
    output:
        made=touch(below("features/{item}/{key}/done/{segment}-{block}.made")),
        whole=touch(below("features/{item}/{key}/done/{segment}-{block}.whole")),
    log:
        below("features/{item}/{key}/logs/{segment}-{block}.log"),
    benchmark:
        below("features/{item}/{key}/benchmarks/{segment}-{block}.tsv")
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
        "features: {wildcards.item}, segment {wildcards.segment}, block {wildcards.block} of {params.run}"
    shell:
        "spikelens features {params.run:q} --feature {wildcards.item} --segments {wildcards.segment} --blocks {wildcards.block}"
        " --planned {wildcards.key} --log {log:q}"
