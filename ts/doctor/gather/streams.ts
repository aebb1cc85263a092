/** The ends that are streams: what is at their address, who listens there, and which filters of the VM. */

import { constants } from 'node:fs'
import { lstat, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { closedDirectories, mayAccess } from '../../host/files.ts'
import { findBothEnds, isListenedOn } from '../../host/listeners.ts'
import type { Monitor } from '../../monitor/index.ts'
import type { StreamPlan } from '../../run/ends.ts'
import { formatStreamAddress } from '../../stream/address.ts'
import { isDeaf } from '../../vm/deafness.ts'
import { compareHeaders, type Mismatch } from '../../vm/headers.ts'
import { OtherEnd, type StreamRole } from '../../vm/other-end.ts'
import type { Opposite, SocketFile, StreamEnd } from '../facts.ts'
import type { Request } from '../request.ts'
import { lookAtCredentials } from './credentials.ts'
import { isFerry } from './ferries.ts'

export async function lookAtStreams(request: Request, monitor: Monitor | undefined): Promise<StreamEnd[]> {
  const { indev, outdev, headerLength } = request
  return Promise.all([
    ...(indev === undefined ? [] : [lookAtStream('indev', indev, undefined, monitor)]),
    ...(outdev === undefined ? [] : [lookAtStream('outdev', outdev, headerLength, monitor)]),
  ])
}

async function lookAtStream(
  role: StreamRole,
  plan: StreamPlan,
  headerLength: number | undefined,
  monitor: Monitor | undefined,
): Promise<StreamEnd> {
  const { address } = plan
  const rest = {
    role,
    plan,
    opposite: await oppositeOf(role, plan, headerLength, monitor),
    credentials: await lookAtCredentials(plan),
  }
  if (address.kind === 'fd') {
    return {
      ...rest,
      file: undefined,
      listening: undefined,
      server: undefined,
      clients: [],
      ferry: undefined,
    }
  }
  const { server, clients } = await findBothEnds(address)
  // A path leads to a socket of any network namespace; at a port there may be servers of several addresses.
  const listening = (address.kind === 'unix' && server !== undefined) || (await isListenedOn(address))
  const peers = [...(server === undefined ? [] : [server]), ...clients]
  const ferries = await Promise.all(peers.map(async ({ pid }) => ((await isFerry(pid)) ? [pid] : [])))
  const file = address.kind === 'unix' ? await fileAt(address.path, plan.server) : undefined
  return { ...rest, file, listening, server, clients, ferry: ferries.flat()[0] }
}

/** A server replaces a socket, and no link to one; a client follows links. */
export async function fileAt(path: string, isServer: boolean): Promise<SocketFile> {
  const found = await (isServer ? lstat(path) : stat(path)).catch(() => undefined)
  const directory = dirname(path)
  const isThere = (await stat(directory).catch(() => undefined))?.isDirectory() ?? false
  return {
    kind: found === undefined ? 'none' : found.isSocket() ? 'socket' : 'other',
    writable: await mayAccess(path, constants.W_OK),
    directory: !isThere ? 'missing' : (await mayAccess(directory, constants.W_OK)) ? 'writable' : 'closed',
    closedDirectories: await closedDirectories(path),
  }
}

/** A VM that does not answer is told as such. */
async function oppositeOf(
  role: StreamRole,
  { address, server, vnetHdrSupport }: StreamPlan,
  length: number | undefined,
  monitor: Monitor | undefined,
): Promise<Opposite> {
  if (monitor === undefined) return { deaf: [], mismatches: [] }
  try {
    const filters = await new OtherEnd(monitor, { role, address, server }).filters()
    const own = { role, stream: formatStreamAddress(address), vnetHdrSupport, length }
    const mismatches: Mismatch[] = []
    for (const filter of filters)
      mismatches.push(...[(await compareHeaders(monitor, filter, own)) ?? []].flat())
    return {
      deaf: role === 'outdev' ? filters.filter(isDeaf).map(({ filter }) => filter.id) : [],
      mismatches,
    }
  } catch {
    return { deaf: [], mismatches: [] }
  }
}
