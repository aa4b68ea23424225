rule import_volume:
    input:
        lambda wc: sources.source_files(
            VOLUMES[wc.volume][0].volumes[VOLUMES[wc.volume][1]]
        ),
    output:
        f"{FOLDER}/volumes/{{volume}}/volume.json",
    log:
        f"{FOLDER}/logs/import/{{volume}}.log",
    conda:
        "../../environment.yml"
    params:
        settings=lambda wc: stages.science_json(
            stages.import_stage(*VOLUMES[wc.volume])
        ),
    shell:
        "exec python -m pipeline_lib import --output {output:q} --settings {params.settings:q} --log {log:q}"
