-- Health of an ExportRequest for Argo CD, as resource.customizations.health.export-operator.io_ExportRequest.
-- A request that waits is Suspended, which does not hold a sync; one that runs is Progressing.
local status = obj.status
if status == nil or status.phase == nil or status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "Waiting for the operator" }
end

local healthOf = {
  Pending = "Progressing",
  Running = "Progressing",
  Queued = "Suspended",
  Succeeded = "Healthy",
  PartiallySucceeded = "Healthy",
  Cancelled = "Healthy",
  Expired = "Healthy",
  Failed = "Degraded",
  Rejected = "Degraded",
}

local message = status.message or status.reason or status.phase
if status.phase == "Pending" and obj.spec.suspend then
  return { status = "Suspended", message = message }
end
return { status = healthOf[status.phase] or "Unknown", message = message }
