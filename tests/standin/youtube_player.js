var _yt_player = {};
(function (g) {
  var window = this;
  var Address = function () {
    this.parameters = new Map();
  };
  Address.prototype.set = function (name, value) {
    this.parameters.set(name, value);
  };
  Address.prototype.get = function (name) {
    return this.parameters.get(name);
  };
  Address.prototype.clone = function () {
    return this;
  };
  Address.prototype.transform = function () {
    var challenge = this.parameters.get("n");
    if (challenge) this.parameters.set("n", challenge.split("").reverse().join(""));
  };
  var decipher = function (url, name, signature) {
    var address = new Address(url);
    address.set("alr", "yes");
    if (signature) {
      var characters = decodeURIComponent(signature).split("").reverse().slice(1);
      address.set(name, encodeURIComponent(characters.join("")));
    }
    return address;
  };
  g.sts = { signatureTimestamp: 20000 };
})(_yt_player);
