-- Two rows as release 0.1.0 wrote them (`sqlite3 doctor.db .dump`): a job that ended, and one that waits with a mirror.
INSERT INTO "jobs" VALUES(1,'00000001-0000-4000-8000-000000000000','FAILED','local','/models/loras/gone.pt','c.example',
'gone.pt loras c.example',0,NULL,0,0,0,NULL,1,1,NULL,'2026-01-01T00:00:00.000Z','2026-01-01T00:00:00.000Z','model','/models',
'{"expected_filename": "gone.pt", "model_type": "loras", "download_url": "https://c.example/gone.pt", "source": "manual", "sha256": null, "size": null, "subfolder": "", "mirrors": []}',
'[{"timestamp": "2026-01-01T00:00:00.000Z", "event": "Job created"}, {"timestamp": "2026-01-01T00:00:00.000Z", "event": "Failed (not_found)"}]',
'{"bytes": 0, "total": null, "bytes_per_second": null, "eta_seconds": null, "connections": 0}',
'{"path": null, "sha256": null, "proof": null, "verdict": null, "code": "not_found", "reason": "c.example answered 404"}');
INSERT INTO "jobs" VALUES(2,'00000002-0000-4000-8000-000000000000','PENDING','local','/models/loras/m.safetensors','a.example',
'm.safetensors loras a.example',0,'2026-01-01T00:00:01.000Z',0,0,0,NULL,2,2,NULL,'2026-01-01T00:00:00.000Z',NULL,'model','/models',
'{"expected_filename": "m.safetensors", "model_type": "loras", "download_url": "https://a.example/f", "source": "manual", "sha256": null, "size": 5, "subfolder": "", "mirrors": ["https://b.example/f"]}',
'[{"timestamp": "2026-01-01T00:00:00.000Z", "event": "Job created"}, {"timestamp": "2026-01-01T00:00:01.000Z", "event": "no connection"}]',
'{"bytes": 0, "total": null, "bytes_per_second": null, "eta_seconds": null, "connections": 0}',
'{"path": null, "sha256": null, "proof": null, "verdict": null, "code": null, "reason": null}');
UPDATE tallies SET number = 1 WHERE status = 'FAILED';
