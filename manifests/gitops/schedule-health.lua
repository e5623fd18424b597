-- Health of a ScheduledExport for Argo CD, as resource.customizations.health.export-operator.io_ScheduledExport.
-- It is about the schedule: how its requests end, their own health tells.
local status = obj.status
if status == nil or status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "Waiting for the operator" }
end
for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Stalled" and condition.status == "True" then
    return { status = "Degraded", message = condition.message }
  end
end
return { status = obj.spec.suspend and "Suspended" or "Healthy", message = status.message or "" }
