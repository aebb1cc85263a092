/**
 * Network namespaces (network_namespaces(7)) as people name them, as the kernel names them, and as files.
 *
 * People write a name of `ip netns`, a path or the number of a process. The kernel's own name is `net:[INODE]`.
 * What opens one is a path.
 */

import { readdir, stat } from 'node:fs/promises'
import { listPids } from './processes.ts'

/** Where ip-netns(8) keeps the named ones. */
const NAMED = '/run/netns'

/** A network namespace that can be entered. */
export interface Netns {
  /** `net:[4026531840]`, as readlink of /proc/PID/ns/net shows it. */
  readonly id: string
  /** A file that opens it, for as long as it is there. */
  readonly path: string
  /** What `--netns` takes: the name, or the number of a process. */
  readonly label: string
}

/** The file that `--netns=NAME|PATH|PID` means; whether it is there is found out when it is opened. */
export function netnsPath(given: string): string {
  if (given.includes('/')) return given
  return /^\d+$/.test(given) ? namespaceFile(given) : `${NAMED}/${given}`
}

export async function ownNetnsId(): Promise<string> {
  const id = await netnsIdAt(namespaceFile('self'))
  if (id === undefined) throw new Error('/proc is not mounted')
  return id
}

/** Which namespace a file opens; undefined where there is none, or it may not be asked. */
export async function netnsIdAt(path: string): Promise<string | undefined> {
  const file = await stat(path, { bigint: true }).catch(() => undefined)
  return file === undefined ? undefined : `net:[${file.ino}]`
}

export function netnsIdOfProcess(pid: number | 'self'): Promise<string | undefined> {
  return netnsIdAt(namespaceFile(String(pid)))
}

/**
 * A way into a namespace: its name if it has one, else a process that is in it, `pids` before all others.
 * Undefined where nothing that this user may look at leads there.
 */
export async function findNetns(id: string, pids: readonly number[] = []): Promise<Netns | undefined> {
  const named = (await listNamed()).find(each => each.id === id)
  if (named !== undefined) return named
  for (const pid of [...pids, ...(await listPids())]) {
    if ((await netnsIdOfProcess(pid)) === id) {
      return { id, path: namespaceFile(String(pid)), label: String(pid) }
    }
  }
  return undefined
}

/** Those of `ip netns`. */
export async function listNamed(): Promise<Netns[]> {
  const names = await readdir(NAMED).catch(() => [])
  const found = names.map(async (name): Promise<Netns[]> => {
    const path = `${NAMED}/${name}`
    const id = await netnsIdAt(path)
    // A number would be taken for a process.
    return id === undefined ? [] : [{ id, path, label: /^\d+$/.test(name) ? path : name }]
  })
  return (await Promise.all(found)).flat()
}

function namespaceFile(process: string): string {
  return `/proc/${process}/ns/net`
}
