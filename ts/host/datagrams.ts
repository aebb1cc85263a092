/** Whether somebody is bound to an address for datagrams, read from /proc (proc_net_unix(5); net/udp as net/tcp). */

import type { DatagramPlace } from '../stream/datagrams.ts'
import { isHeldBy, isPathAmong, linesOf, rowsOf } from './listeners.ts'

/** SOCK_DGRAM (linux/net.h), as net/unix writes it. */
const DATAGRAMS = '0002'

/** In this network namespace, whoever it is; undefined for another host. */
export async function isBound(place: DatagramPlace): Promise<boolean | undefined> {
  if (place.kind === 'udp') return isHeldBy(await rowsOf('udp'), place)
  // Num RefCount Protocol Flags Type St Inode Path
  const names = (await linesOf('/proc/self/net/unix')).flatMap(line => {
    const [, type, name] = /^\S+ \S+ \S+ \S+ (\S+) \S+ +\d+ (.+)$/.exec(line) ?? []
    return type === DATAGRAMS && name !== undefined ? [name] : []
  })
  return isPathAmong(names, place.path)
}
