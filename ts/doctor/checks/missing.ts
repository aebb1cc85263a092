/** Why a name led to no interface, and what was meant, as far as it can be told. Pure. */

import { ExitStatus } from '../../errors.ts'
import { closest } from '../../options/closest.ts'
import type { End, Facts } from '../facts.ts'
import { type Details, error, type Finding, info, noteOf } from '../finding.ts'
import { again, type Changes } from '../shell.ts'
import { interfaceBehind, titleOf, vmsOf } from '../vms.ts'
import { withCapabilities } from './privileges.ts'

/** The network namespace of whoever opens it. */
const OWN_NETNS = '/proc/self/ns/net'

export function explainMissing(end: End, facts: Facts): Finding {
  const { role, given, problem, elsewhere } = end
  const about = `${role} ${given}`
  const refuse = (message: string, details: Details): Finding => {
    const { code, exitStatus } = problem ?? { code: 'NETDEV_NOT_FOUND', exitStatus: ExitStatus.Interface }
    return error(code, exitStatus, about, message, details)
  }
  const hint = noteOf(problem?.hint)
  // Its own failure says more than that there is no interface.
  if (problem !== undefined && problem.code !== 'NETDEV_ID_UNKNOWN') {
    const closed = problem.code === 'PERMISSION'
    return refuse(problem.message, closed ? withCapabilities(facts, 'net_raw') : hint)
  }
  const [netns, ...more] = elsewhere
  if (netns !== undefined) {
    const note = more.length === 0 ? {} : { note: `also in ${more.map(({ label }) => label).join(', ')}` }
    return refuse(`there is none of that name here, but one in network namespace ${netns.label}`, {
      fix: again(facts.request, netnsOptions(facts, end, netns.label)),
      ...note,
    })
  }
  if (facts.monitor?.problem !== undefined) {
    return info(
      'NETDEV_ID_UNRESOLVED',
      about,
      "there is no interface of that name here, and without the VM's monitor it cannot be told whether it is a netdev of the VM",
    )
  }
  const owned = facts.monitor === undefined ? netdevOfVm(end, facts) : undefined
  if (owned !== undefined) return refuse(...owned)
  const message = problem?.message.replace(`${role} '${given}' not found: `, '')
  const [similar, ...others] = closest(given, namesNear(end, facts))
  if (similar !== undefined && others.length === 0) {
    return refuse(message ?? `there is no such interface; there is ${similar}`, {
      fix: again(facts.request, { [optionOf(end)]: similar }),
    })
  }
  if (similar !== undefined) {
    return refuse(message ?? 'there is no such interface', {
      note: `like it are ${[similar, ...others].join(', ')}`,
    })
  }
  return refuse(message ?? 'there is no interface of that name in this network namespace', {
    note: '`ip link` shows those there are, `tapferry netdevs` those of VMs; --wait waits for one',
    ...hint,
  })
}

function optionOf({ role }: End): string {
  return role === 'in_netdev' ? '--in-netdev' : '--out-netdev'
}

/** Options that look for one end in another network namespace, and for the other one where it is. */
function netnsOptions({ request, input, output }: Facts, moved: End, label: string): Changes {
  const wanted = (end: End | undefined, given: string | undefined): string | undefined => {
    if (end === undefined || end === moved) return label
    return end.elsewhere.some(netns => netns.label === label) ? label : given
  }
  const [from, to] = [wanted(input, request.inNetns), wanted(output, request.outNetns)]
  if (from === to) return { '--netns': from, '--out-netns': undefined }
  return { '--netns': from, '--out-netns': to ?? OWN_NETNS }
}

/** It is a netdev of a VM, and that VM's monitor was not given. */
function netdevOfVm(end: End, { vms, request }: Facts): [message: string, details: Details] | undefined {
  const { given, network } = end
  const owners = vmsOf(end, vms)
  const [owner] = owners
  if (owner === undefined) return undefined
  if (owners.length > 1) {
    const addresses = owners.flatMap(vm => vm.freeMonitors[0] ?? []).join(', ')
    return [
      `there is no interface of that name, but ${owners.length} VMs have such a netdev`,
      { note: `say which VM, by its monitor: --qmp with one of ${addresses}` },
    ]
  }
  const message = `there is no interface of that name, but ${titleOf(owner)} has that netdev`
  const [address, name] = [owner.freeMonitors[0], interfaceBehind(owner, given, network?.namespace)]
  if (address !== undefined) return [message, { fix: again(request, { '--qmp': address }) }]
  if (name !== undefined) return [message, { fix: again(request, { [optionOf(end)]: name }) }]
  return [message, { note: 'give the VM a monitor for tapferry: -qmp unix:PATH,server=on,wait=off' }]
}

/** What may have been meant: interfaces, and with the VM's monitor its netdevs; hardly the other end, nor what failed. */
function namesNear(end: End, { vms, monitor, input, output }: Facts): string[] {
  const followed = vms.find(({ process }) => process.pid === monitor?.vm?.pid)
  const other = end === input ? output : input
  const names = [
    ...(followed?.process.netdevs ?? []).map(({ id }) => id),
    ...(end.network?.interfaces ?? []).map(({ name }) => name),
  ]
  return names.filter(name => ![end.given, other?.given, other?.place.interface].includes(name))
}
