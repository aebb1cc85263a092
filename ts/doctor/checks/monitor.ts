/** Whether the VM can be followed, and what its state means for the gate. Pure. */

import type { WhenStopped } from '../../binding.ts'
import type { TapferryError } from '../../errors.ts'
import { quote } from '../../options/words.ts'
import type { Facts, MonitorFacts } from '../facts.ts'
import { type Details, error, type Finding, info, ok } from '../finding.ts'
import { again } from '../shell.ts'
import { plainAddress, titleOf, vmsOf } from '../vms.ts'

export function checkMonitor(facts: Facts): Finding[] {
  const { monitor, request } = facts
  if (monitor === undefined) return suggestMonitor(facts)
  const about = `monitor ${monitor.address}`
  if (monitor.problem !== undefined) {
    const { code, exitStatus, message } = monitor.problem
    if (code === 'MONITOR_BUSY' && monitor.ferry !== undefined) {
      return [info('MONITOR_FOLLOWED', about, `tapferry ${monitor.ferry} holds it, and follows the VM`)]
    }
    return [error(code, exitStatus, about, message, remedy(facts, monitor, monitor.problem))]
  }
  const findings: Finding[] = []
  if (!monitor.local) {
    findings.push(
      info(
        'MONITOR_REMOTE',
        about,
        "it does not share this host's clock: the gate moves when news arrives, not when it happened",
      ),
    )
  }
  const closed = closedBy(monitor, request.status, request.whenStopped)
  if (closed !== undefined) findings.push(info('GATE_CLOSED', about, `no frame would pass now: ${closed}`))
  return [...findings, ok('MONITOR_READY', about, `it answers: the VM is ${monitor.status}`)]
}

/** Why the gate would be closed at this moment. */
function closedBy(
  { running, status }: MonitorFacts,
  on: boolean,
  whenStopped: WhenStopped,
): string | undefined {
  if (!on) return '--status=off'
  if (running)
    return whenStopped === 'only' ? 'the VM runs, and --only-when-stopped waits for it to stop' : undefined
  return whenStopped === 'off'
    ? `the VM is ${status}; cont starts it, and --enable-when-stopped lets frames pass`
    : undefined
}

/** A run without a monitor does not notice that its VM stops. */
function suggestMonitor({ vms, input, request }: Facts): Finding[] {
  const [owner, ...others] = input?.facts === undefined ? [] : vmsOf(input, vms)
  const address = owner?.freeMonitors[0]
  if (owner === undefined || others.length > 0 || address === undefined) return []
  return [
    info(
      'MONITOR_UNUSED',
      titleOf(owner),
      'its run state is not followed, though it has a monitor: frames pass whether it runs or not',
      { fix: again(request, { '--qmp': address }) },
    ),
  ]
}

function remedy(facts: Facts, monitor: MonitorFacts, { code, hint }: TapferryError): Details {
  const { vm, clients } = monitor
  switch (code) {
    case 'MONITOR_FROZEN':
      if (vm !== undefined) return { fix: `kill -CONT ${vm.pid}` }
      break
    case 'MONITOR_BUSY':
      return busyRemedy(monitor)
    case 'MONITOR_PERMISSION':
      return permissionRemedy(facts, monitor)
    case 'MONITOR_NOT_FOUND':
    case 'MONITOR_REFUSED':
    case 'MONITOR_NOT_QMP': {
      const other = likelyMonitor(facts)
      if (other !== undefined) return { fix: again(facts.request, { '--qmp': other }) }
      break
    }
  }
  if (hint === undefined) return {}
  return clients.length === 0
    ? { note: hint }
    : { note: `${hint} (connected: ${clients.map(({ name, pid }) => `${name} ${pid}`).join(', ')})` }
}

/** The socket for this user alone; on the way to it, all may go through, and not look around. */
function permissionRemedy({ process }: Facts, { address, closedDirectories }: MonitorFacts): Details {
  const socket = quote(plainAddress(address))
  const open = closedDirectories.length === 0 ? '' : `chmod o+x ${closedDirectories.map(quote).join(' ')} && `
  return { fix: `${open}chown ${process.uid} ${socket} && chmod u+rw ${socket}` }
}

/** A manager keeps its monitor: the VM gets one more. Anybody else can be asked to leave. */
function busyRemedy({ manager, clients, vm, address }: MonitorFacts): Details {
  const holder = clients.map(({ name, pid }) => `${name}, pid ${pid}`).join('; ')
  switch (manager ?? managedBy(clients.map(({ name }) => name))) {
    case 'libvirt':
      return {
        note:
          `libvirt keeps it. Without a restart: virt-qemu-qmp-proxy DOMAIN /run/tapferry-DOMAIN.qmp, then --qmp with that path ` +
          '(it marks the domain as tainted). For good: virsh edit DOMAIN, and inside <domain ' +
          "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'> add <qemu:commandline><qemu:arg value='-qmp'/>" +
          "<qemu:arg value='unix:/run/tapferry-DOMAIN.qmp,server=on,wait=off'/></qemu:commandline>",
      }
    case 'Proxmox VE': {
      const id = /\/(\d+)\.qmp$/.exec(address)?.[1] ?? 'VMID'
      return {
        note:
          `Proxmox VE uses it. Give the VM one more, which is there from its next start: ` +
          `qm set ${id} --args '-qmp unix:/run/tapferry-${id}.qmp,server=on,wait=off', with what qm config ${id} shows as args before it`,
      }
    }
    case 'Incus':
      return {
        note:
          'Incus keeps it. Give the instance one more, which is there from its next start: ' +
          "incus config set INSTANCE raw.qemu='-qmp unix:/run/tapferry-INSTANCE.qmp,server=on,wait=off', with what " +
          'incus config get INSTANCE raw.qemu shows before it',
      }
  }
  const [client] = clients
  if (client !== undefined && clients.length === 1) {
    return {
      fix: `kill ${client.pid}`,
      note: `that is ${client.name}; if it is to stay, give the VM one more: -qmp unix:PATH,server=on,wait=off`,
    }
  }
  const whose = vm === undefined ? '' : ` (${vm.name}, pid ${vm.pid})`
  return {
    note: `give the VM${whose} one more: -qmp unix:PATH,server=on,wait=off${holder === '' ? '' : `; connected: ${holder}`}`,
  }
}

function managedBy(names: readonly string[]): 'libvirt' | undefined {
  return names.some(name => /^(?:libvirtd|virtqemud)$/.test(name)) ? 'libvirt' : undefined
}

/** Of the VM that is meant: the one that has an end, or the only one if neither end is there without it. */
function likelyMonitor({ vms, input, output, request }: Facts): string | undefined {
  const owners = [input, output].map(end => vmsOf(end, vms)).find(found => found.length > 0)
  const unknown = [input, output].every(end => end?.facts === undefined)
  const candidates = owners ?? (unknown ? vms : [])
  const tried = plainAddress(request.monitor ?? '')
  const free = candidates.map(vm => vm.freeMonitors.find(address => address !== tried))
  const [only, ...more] = free.filter(address => address !== undefined)
  return more.length === 0 ? only : undefined
}
