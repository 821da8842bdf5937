"""The main job: a table and a pipeline in, a verdict out. The public function is `backgrad.audit`."""
