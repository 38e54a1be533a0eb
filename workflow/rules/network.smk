# Stage 1: the synapses, one job a block. No job needs another's block.

for run in RUNS:

    rule:
        name:
            rule_name("network", run)
        input:
            run.network.edges or [],
        output:
            network_patterns(run),
            stamp=touch(f"{stores.stamp_folder(run, 'network')}/{{block}}"),
        log:
            f"{run.path}/logs/network/{{block}}.log",
        benchmark:
            f"{run.path}/benchmarks/network/{{block}}.tsv"
        group:
            together("network")
        envmodules:
            *run.cluster.modules,
        threads: 1
        resources:
            **asked(run, "network"),
            turn=1,
        params:
            run=run.path,
            fingerprint=fingerprint(run, "network"),
        message:
            "network: block {wildcards.block} of {params.run}"
        shell:
            "spikelens network {params.run:q} --blocks {wildcards.block} --log {log:q}"
