IMPORTED = f"{FOLDER}/volumes/{{volume}}"
IMPORTED_FROM = {"source": lambda wc: sources.source_files(source_of(wc))}


rule import_volume:
    input:
        **IMPORTED_FROM,
        parts=parts_of("import", IMPORTED, imported_by),
    output:
        f"{IMPORTED}/volume.json",
    log:
        f"{FOLDER}/logs/import/{{volume}}.log",
    conda:
        "../../environment.yml"
    threads: lambda wc: 1 if source_of(wc).kind == "synthetic" else CORES
    resources:
        **MEMORY,
    params:
        output=f"{IMPORTED}/volume.json",
        settings=lambda wc: stages.science_json(
            stages.import_stage(*VOLUMES[wc.volume])
        ),
        source_state=lambda wc: state_of_source(wc.volume),
        step=last_step,
    shell:
        "exec python -m pipeline_lib import --output {params.output:q} --settings {params.settings:q}"
        " --threads {threads} --memory-mb {resources.mem_mb} --step {params.step} --log {log:q}"


use rule import_volume as import_part with:
    input:
        **IMPORTED_FROM,
        plan=plan_before(IMPORTED),
    output:
        f"{IMPORTED}/shards/{{part}}.json",
    log:
        f"{FOLDER}/logs/import/{{volume}}-{{part}}.log",
    params:
        step=part_step,
