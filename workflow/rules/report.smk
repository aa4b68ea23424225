rule report:
    input:
        PATHS.metrics(),
        PATHS.segmentations(),
    output:
        report(PATHS.report, category="Report"),
    log:
        f"{FOLDER}/logs/report.log",
    conda:
        "../../environment.yml"
    params:
        contents=json.dumps(PATHS.report_contents(), sort_keys=True),
    shell:
        "exec python -m pipeline_lib report --contents {params.contents:q} --output {output:q} --log {log:q}"
