class A { static s() {} get g() { return 1; } #p() {} }
exports.made = function () {};
let later = () => {};
export { later };
