/** What a VM's monitor tells, in words. Pure. */

/** `status`: QEMU's RunState. */
export function vmState(running: boolean, status: string): string {
  if (running) return 'VM running'
  return status === 'stopped' ? 'VM stopped' : `VM stopped (${status})`
}

/** The `status` in the data of MIGRATION and its like. */
export function statusIn(data: unknown): string | undefined {
  const status = (data as { status?: unknown } | null | undefined)?.status
  return typeof status === 'string' ? status : undefined
}
