/** The interfaces of this host, as this process's network namespace has them. */

import { readFile } from 'node:fs/promises'

/**
 * Down ones too, which os.networkInterfaces() leaves out. From proc(5) rather than /sys/class/net, which shows
 * the namespace that sysfs was mounted in (`nsenter --net` alone does not change that). Alternative names are
 * not listed.
 */
export async function hostInterfaceExists(name: string): Promise<boolean> {
  const table = await readFile('/proc/net/dev', 'utf8')
  return table.split('\n').some(line => line.startsWith(`${name}:`, line.search(/\S/)))
}
