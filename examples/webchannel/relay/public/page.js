'use strict';
// A page that uses an object of a C++ program as if it were here: reads its property, calls its method, hears its
// signals. The object lives behind the relay; `QWebChannel` is in qwebchannel.js.

const WAIT_MS = { first: 500, longest: 10_000 };

const byId = (id) => document.getElementById(id);
let thermostat = null;
let wait = WAIT_MS.first;

function show(state, text) {
  byId('state').dataset.state = state;
  byId('state').textContent = text;
  byId('ask').querySelector('button').disabled = state !== 'connected';
}

function showAsked(celsius, accepted) {
  const line = document.createElement('li');
  line.textContent = `${celsius} °C: ${accepted ? 'accepted' : 'refused'}`;
  byId('asked').prepend(line);
}

function use(object) {
  thermostat = object;
  byId('target').textContent = thermostat.target;
  thermostat.targetChanged.connect(() => { byId('target').textContent = thermostat.target; });
  // Every page hears this, whichever asked.
  thermostat.asked.connect(showAsked);
  show('connected', 'Connected.');
  wait = WAIT_MS.first;
}

function connect() {
  const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
  const socket = new WebSocket(`${scheme}//${location.host}/channel`);
  socket.onopen = () => new QWebChannel(socket, (channel) => use(channel.objects.thermostat));
  socket.onclose = ({ reason }) => {
    thermostat = null;
    show('waiting', `Not connected${reason ? `: ${reason}` : ''}. Trying again…`);
    setTimeout(connect, wait);
    wait = Math.min(2 * wait, WAIT_MS.longest);
  };
}

byId('ask').addEventListener('submit', (event) => {
  event.preventDefault();
  // The answer comes as the method's result; what came of it is told to all by the signal.
  thermostat?.ask(Number(byId('wish').value), (accepted) => {
    byId('wish').setCustomValidity(accepted ? '' : 'The thermostat goes from 5 to 30 °C.');
    byId('wish').reportValidity();
  });
});
byId('wish').addEventListener('input', () => byId('wish').setCustomValidity(''));

connect();
